"""Sample scenes, sample tenant models and the script that made both; nothing here is deployed."""
