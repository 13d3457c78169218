"""H1 with language models: does a majority of five answer better than the best one of them?

Needs their API keys, and costs money: --env-file PATH gives keys to the cases. README.md says how to choose the best
one on validation items first, and to plan the comparison.
"""

from run_models import ModelsConfig

from experiment_runner import ExperimentCase, run_experiments_cli

MEMBERS = {
    "gpt-4o-mini": "openai/gpt-4o-mini",
    "claude-haiku": "anthropic/claude-3-5-haiku-latest",
    "gemini-flash": "google/gemini-2.0-flash",
    "mistral-small": "mistral/mistral-small-latest",
    "grok-mini": "grok/grok-3-mini",
}
"""Any models that Inspect knows: put yours here."""

asked = {**MEMBERS, "majority": f"ensemble/{'+'.join(MEMBERS.values())}"}
cases = [ExperimentCase(variant_name=name, config=ModelsConfig(model=model)) for name, model in asked.items()]

if __name__ == "__main__":
    run_experiments_cli(cases, entry_point="run_models.py", experiment_name="h1-models", mode="inspect")
