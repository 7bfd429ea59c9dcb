"""One loop for every model, and how it goes on after a kill."""

from genmnist.training.trainer import Epoch, Event, Step, Trainer

__all__ = ["Epoch", "Event", "Step", "Trainer"]
