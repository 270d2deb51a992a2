"""What a GPU really takes and gives, with random weights in the shapes of Qwen 2.5.

Needs torch, transformers and PEFT, of any recent version, and no network. bitsandbytes and flash-attn are used where
they can be imported, and said to be left out where not. The loops are bare: TRL is not needed.
"""
