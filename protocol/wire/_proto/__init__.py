"""The protobuf module, generated from `tinkex_wire.proto`."""
