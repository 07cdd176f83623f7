"""Decode on an NVIDIA GPU in CUDA C++, for one to sixteen tokens.

`launch` is the entry. `decode.cu` is the source, which `programs` compiles when a kind of layer is first met.
`launch_plan` chooses how a layer is divided among blocks of threads. `presence` says whether the compiler's library is
installed.
"""
