"""One loop for every model, and how it goes on after a kill."""

from genmnist.training.trainer import EpochEnd, Event, StepEnd, Trainer

__all__ = ["EpochEnd", "Event", "StepEnd", "Trainer"]
