// The headers of the standard library that cuda_on_cpu.h needs, in one file, so that they are compiled once for all kernels.
#pragma once
#include <ucontext.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <random>
#include <vector>
