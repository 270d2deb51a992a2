"""Everything from outside comes in here, by one door per kind; behind a door nothing is checked again.

text        characters and JSON: surrogates, NUL, byte order marks, depth, size
files       folders, zips and JSON Lines that somebody else made
forms       rows as others write them: Alpaca, ShareGPT, UltraFeedback, hh-rlhf
answers     what a server says: reply, thinking, refusal or failure
adapters    a PEFT folder, as plain tensors on a base that stays as it was
templates   a chat template, and what it writes around a turn
"""
