"""The CSI specification as pure code: types, errors, rules, access modes, topology, redaction. No I/O."""
