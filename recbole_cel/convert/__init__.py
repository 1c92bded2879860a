"""Raw MovieLens and Amazon files become RecBole's atomic files: ``python -m recbole_cel.convert``."""
