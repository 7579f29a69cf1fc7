#!/bin/bash
# The same as srun.sh, one torchrun on each node, which starts the processes:  sbatch scripts/slurm/torchrun.sh configs/universal.yaml
#SBATCH --job-name=equinet
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=32
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=TERM@300
# 300 seconds before the time is up torchrun gets SIGTERM, which it hands on (SIGUSR1 it would not), with 240 seconds to end:
# the step is finished and a checkpoint written. Submitted again, the run goes on.
set -uo pipefail
config=${1:?give a configuration file}
gpus=4

source .venv/bin/activate
export OMP_NUM_THREADS=1
export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK # since Slurm 22.05 srun gives each process one core unless it is told
export TORCH_ELASTIC_SHUTDOWN_TIMEOUT=240      # seconds that torchrun leaves its processes after SIGTERM (else 30)
head_node=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)

srun --kill-on-bad-exit=0 torchrun --nnodes "$SLURM_NNODES" --nproc-per-node "$gpus" \
    --rdzv-id "$SLURM_JOB_ID" --rdzv-backend c10d --rdzv-endpoint "$head_node:29500" \
    --no-python equinet train --config "$config" --resume auto \
    --trainer.accelerator gpu --trainer.num_nodes "$SLURM_NNODES" --trainer.devices "$gpus" \
    --data.num_workers 7
