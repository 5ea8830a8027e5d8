"""The parts of the study: what is measured, how, and what is made of it."""
