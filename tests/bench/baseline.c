/* The limit: a loop of posix_spawn and wait4 that keeps SLOTS children at work, their output appended to one segment file.
 *
 * baseline SLOTS COUNT SEGMENT PROGRAM [ARGUMENT...]
 *
 * Nothing cheaper starts processes on this system and still has their output and resource usage.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>

extern char **environ;

static void fail(const char *what) {
    perror(what);
    exit(2);
}

int main(int argc, char **argv) {
    if (argc < 5) {
        fprintf(stderr, "usage: baseline SLOTS COUNT SEGMENT PROGRAM [ARGUMENT...]\n");
        return 2;
    }
    long slots = atol(argv[1]), count = atol(argv[2]), started = 0, ended = 0;
    int segment = open(argv[3], O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (segment < 0)
        fail(argv[3]);
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t defaults;
    sigemptyset(&defaults);
    sigaddset(&defaults, SIGPIPE);
    if (posix_spawn_file_actions_init(&actions) || posix_spawnattr_init(&attributes) ||
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0) ||
        posix_spawn_file_actions_adddup2(&actions, segment, 1) || posix_spawn_file_actions_adddup2(&actions, segment, 2) ||
        posix_spawnattr_setsigdefault(&attributes, &defaults) ||
        posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF))
        fail("posix_spawn attributes");
    while (ended < count) {
        while (started < count && started - ended < slots) {
            pid_t pid;
            if (posix_spawn(&pid, argv[4], &actions, &attributes, argv + 4, environ))
                fail(argv[4]);
            started++;
        }
        int status;
        struct rusage usage;
        if (wait4(-1, &status, 0, &usage) < 0)
            fail("wait4");
        if (status != 0) {
            fprintf(stderr, "%s: wait status %d\n", argv[4], status);
            return 1;
        }
        ended++;
    }
    return 0;
}
