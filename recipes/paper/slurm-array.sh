#!/bin/bash
# Trajectories for one recipe on a Slurm cluster: each task of the array serves the teachers on its own node and generates one
# shard of the problems.
#
#   sbatch --array=0-7 recipes/paper/slurm-array.sh recipes/paper/table-2.toml
#   sbatch --array=3,5 --export=ALL,SHARDS=8 recipes/paper/slurm-array.sh recipes/paper/table-2.toml     # these once more
#   cord merge recipes/paper/table-2.toml --shards 8        # when all have ended; names the shards that are missing
#   cord run recipes/paper/table-2.toml                     # the rest: student, benchmarks, table
#
# Shards write to one shared folder (`[run] out`), each into a folder of its own under a lock, so tasks need not know of each
# other. A file system with working `flock` is needed: NFS 4 and GPFS have it, Lustre where it is mounted with `-o flock`. Without
# a shared folder, give every command `--remote s3://bucket/folder` (in a build with `--features s3`).
#
# A task that is killed (time limit, preemption, a lost node) is started again by the same command: what its models had
# answered is in its journal.
#SBATCH --job-name=cord
#SBATCH --nodes=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=32
#SBATCH --time=24:00:00
#SBATCH --requeue
# Slurm sends SIGINT to this shell five minutes before the limit: cord then asks nothing more, awaits what is in flight, and stops.
#SBATCH --signal=B:INT@300
#SBATCH --output=cord-%A-%a.log
set -euo pipefail

recipe=${1:?usage: sbatch --array=0-N slurm-array.sh RECIPE}
# Of how many shards: the array's size, unless only some of its tasks are run again.
shards=${SHARDS:-$SLURM_ARRAY_TASK_COUNT}

# One server for each model of the recipe, on two GPUs each; the recipe's `[models.<name>]` say where they listen. A model larger
# than a node is served over several by vLLM's Ray executor: `ray start --head` on the first node, `ray start
# --address=<first node>:6379` on the others, then `vllm serve … --tensor-parallel-size 8 --pipeline-parallel-size 2
# --distributed-executor-backend ray` on the first.
#
# `[run] requests` is about twice --max-num-seqs: a batch that is decoded and one that is ready to follow. Prefix caching is on by
# default in vLLM; cord sends the continuations of one prefix together so that it is hit.
models=(${MODELS:?set MODELS to the teachers, for example "Qwen/QwQ-32B deepseek-ai/DeepSeek-R1-Distill-Qwen-32B"})
servers=()
for index in "${!models[@]}"; do
    CUDA_VISIBLE_DEVICES=$((2 * index)),$((2 * index + 1)) vllm serve "${models[$index]}" \
        --port $((8000 + index)) --tensor-parallel-size 2 --max-model-len 24576 --max-num-seqs 64 &
    servers+=($!)
done
trap 'kill "${servers[@]}" 2>/dev/null || true' EXIT
for index in "${!models[@]}"; do
    until curl --silent --fail "http://localhost:$((8000 + index))/health" >/dev/null; do
        kill -0 "${servers[$index]}"   # a server that has died ends the task
        sleep 5
    done
done

cord run "$recipe" --shard "$SLURM_ARRAY_TASK_ID/$shards" &
task=$!
# The signal goes to this shell; cord is told by the same one.
trap 'kill -INT "$task"' INT
status=0
wait "$task" || status=$?
# A `wait` that a signal ends says 128 and more; cord is still awaiting its last replies then.
if ((status > 128)); then
    status=0
    wait "$task" || status=$?
fi
exit "$status"
