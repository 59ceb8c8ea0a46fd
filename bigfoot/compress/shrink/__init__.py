"""Smaller models in a minute, without gradients: cuts in closed form, chosen by what each does to the outputs.

A kind of cut (``kinds``) proposes cuts of each place in several sizes; ``Survey`` measures what each alone does to the
outputs on held-out audio; ``choose_cheapest`` takes those that together save enough and cost least; ``refit_`` makes
every block give in closed form what the whole model's frames are after it. ``search`` does so in rounds.
"""
