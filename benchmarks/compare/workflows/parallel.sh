# GNU parallel, with the job log that its --resume needs. $1: the program; the rest: more of its options.
seq 0 $((COMPARE_CASES - 1)) > numbers
parallel=$1
shift
exec "$parallel" --will-cite -j "$COMPARE_PARALLELISM" --joblog jobs.log "$@" \
    "$COMPARE_PROGRAM --output_dir results/case-{} --seed 42 --model gpt-4 --num_samples {}" :::: numbers
