# xargs: the cases from a file, so that it is xargs itself that a signal reaches.
seq 0 $((COMPARE_CASES - 1)) > numbers
eval exec xargs -a numbers -P "$COMPARE_PARALLELISM" -I{} \
    "$COMPARE_PROGRAM" --output_dir results/case-{} --seed 42 --model gpt-4 --num_samples {}
