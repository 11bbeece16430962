"""Natural-trace forensics: stage 1 maps the traces of photographs, stage 2 transfers them, the detector joins both."""
