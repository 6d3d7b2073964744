"""Reading a submission: specs read and planned, large ones by a process of its own that hands back arrays."""
