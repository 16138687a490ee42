"""The actor type: pykka's, with deferred replies, death watch and no lost answer."""
