"""The model card: what a model file, its run and its tests say about it, and what nobody recorded."""

from equinet.training.card.markdown import model_card as model_card
