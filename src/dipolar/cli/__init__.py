"""The command line: starts recipes and shows what they return; nothing scientific happens here."""
