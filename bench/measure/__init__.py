"""What is measured: each module drives the contestants in rounds and makes one table."""
