"""Everything that can be asked, as methods; who may ask; the numbered event feed."""
