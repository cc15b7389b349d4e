"""Whole journeys: frozen settings and data in, a result and its record out. Only recipes put stages together."""
