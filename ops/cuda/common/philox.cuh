#pragma once

#include "engine/random/cuda/philox.cuh"
