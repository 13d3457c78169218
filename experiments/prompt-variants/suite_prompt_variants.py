"""Which words around a question get the most right answers, and is it the same for every model?

Four templates × three models, the same 300 questions for all. The models are local, and as unreliable as real ones.
"""

from prompt_config import TEMPLATES, PromptConfig

from experiment_runner import ExperimentCase, run_experiments_cli

base = PromptConfig()

cases = [
    ExperimentCase(variant_name=f"{model}-{template}", config=base.copy_with(model=model, template=template))
    for model in ("small", "medium", "large")
    for template in TEMPLATES
]

if __name__ == "__main__":
    run_experiments_cli(cases, entry_point="run_prompt_variants.py", experiment_name="prompt-variants")
