"""Recipes that make nano: data, losses and training runs. Nothing outside this folder imports it."""
