from .packing import PackedWeight as PackedWeight
from .packing import pack as pack
from .packing import packed_bits as packed_bits
from .packing import packed_weight as packed_weight
from .packing import unpack as unpack
from .stored_bits import count_bits as count_bits

__all__ = ["PackedWeight", "count_bits", "pack", "packed_bits", "packed_weight", "unpack"]
