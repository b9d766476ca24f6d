"""Find the best merge of fine-tuned models by search."""

__version__ = "0.1.0"
