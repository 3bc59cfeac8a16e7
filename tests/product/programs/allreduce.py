"""Add up over all ranks what each brings, and say what came of it."""

import os
import sys

from mpi4py import MPI

world = MPI.COMM_WORLD
total = world.allreduce(world.rank + 1)
print(f"rank {world.rank} of {world.size} on {MPI.Get_processor_name()}: total {total}")
for name in ("OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE", "AZ_BATCH_MASTER_NODE"):
    print(f"{name}={os.environ[name]}")
print(f"role {os.environ['TRAINYARD_ROLE']}, in {os.getcwd()}", file=sys.stderr)
with open(f"outputs/rank-{world.rank}.txt", "w") as file:
    file.write(f"{total}\n")
