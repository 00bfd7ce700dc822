"""Rules behind people's choices: mined or extracted, read and edited by people, switched on, measured."""
