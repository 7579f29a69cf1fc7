#!/bin/bash
# Trains on 2 nodes with 4 GPUs each, one process a GPU, started by srun:  sbatch scripts/slurm/srun.sh configs/universal.yaml
#
# Submit it again, or let it requeue itself, and the run goes on: --resume auto finds it in its run_dir.
#SBATCH --job-name=equinet
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=USR1@300
# 300 seconds before the time is up every process gets SIGUSR1: the step is finished, a checkpoint written, exit status 138.
set -uo pipefail
config=${1:?give a configuration file}

source .venv/bin/activate
export OMP_NUM_THREADS=1 # workers of the loader have the cores
export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK # since Slurm 22.05 srun gives each process one core unless it is told

srun --kill-on-bad-exit=0 equinet train --config "$config" --resume auto \
    --trainer.accelerator gpu --trainer.num_nodes "$SLURM_NNODES" --trainer.devices "$SLURM_NTASKS_PER_NODE" \
    --data.num_workers "$((SLURM_CPUS_PER_TASK - 1))"
status=$?
if [ "$status" -eq 138 ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
