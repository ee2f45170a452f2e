#!/bin/bash
# Four shards as a job array: sbatch slurm.sh. Then: onnxcam merge results -o merged
#SBATCH --job-name=onnxcam
#SBATCH --array=0-3
#SBATCH --cpus-per-task=2
#SBATCH --mem=2G
#SBATCH --requeue
set -euo pipefail
onnxcam batch model.onnx photos -o results --shard "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT"
