"""Parts of a configuration: options of the encoders, and which names modalities may have."""
