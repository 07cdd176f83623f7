"""One layer of 3 x 3 tiles of 8 x 8 with five rows and three sparse weights, for tests by hand."""

from haloquant.accel.cost_model.layer_work import layer_works
from haloquant.accel.workload.prefill_decode import Workload
from haloquant.records import Gemm
from support.accel_cases import random_tiles, toy_profile, toy_target

WORKLOAD = Workload("one", "prefill", (Gemm("x", 5, 24, 24, 0),), 5, 1, 5)
WORKS = layer_works(WORKLOAD, random_tiles(WORKLOAD, 0), toy_target(), toy_profile(), 0, 8, 1.0)
