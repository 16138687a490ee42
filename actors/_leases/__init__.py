"""What is held on servers: sessions and models, from the intent to ask for them until their release."""
