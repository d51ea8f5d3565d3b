"""Is each promise held, as far as can be seen from outside?"""
