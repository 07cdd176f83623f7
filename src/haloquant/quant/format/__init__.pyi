from .packing import pack as pack
from .packing import packed_bits as packed_bits
from .packing import unpack as unpack
from .stored_bits import count_bits as count_bits

__all__ = ["count_bits", "pack", "packed_bits", "unpack"]
