"""Daggy runs work modelled as a DAG: millions of tasks in the right order, on whatever there is to run them."""
