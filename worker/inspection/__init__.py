"""Reading files of strangers, in children of `service.sandbox`; nothing here imports torch."""
