"""What a case of the experiment asks: which model, in which words."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from experiment_config import BaseExperimentConfig

Template = Literal["bare", "role", "steps", "examples"]
Model = Literal["small", "medium", "large"]

TEMPLATES: dict[Template, str] = {
    "bare": "{question}",
    "role": "You are a careful expert. {question} Give the answer only.",
    "steps": "{question} Think step by step, then give the answer after 'Answer:'.",
    "examples": "Q: What is 7 * 8 - 3? Answer: 53\nQ: Spell 'pear' backwards. Answer: raep\nQ: {question} Answer:",
}


class PromptConfig(BaseExperimentConfig):
    """One model, one template, and the questions that follow from the seed."""

    template: Template = Field(default="bare", description="Words around the question.")
    model: Model = Field(default="small", description="Local model that answers.")
    n_questions: int = Field(default=300, ge=1, description="Questions, the same for all cases of a seed.")
    max_parallel: int = Field(default=20, ge=1, description="Calls at a time.")
    call_delay_s: float = Field(default=0.002, ge=0, description="What a call takes.")
