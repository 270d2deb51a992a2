"""Language models behind one protocol: local transformers with PEFT, endpoints, the embedded model."""
