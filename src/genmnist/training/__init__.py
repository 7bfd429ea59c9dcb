"""One loop for every model, and how it goes on after a kill."""

from genmnist.training.trainer import EpochEnd, Event, Remark, StepEnd, Trainer

__all__ = ["EpochEnd", "Event", "Remark", "StepEnd", "Trainer"]
