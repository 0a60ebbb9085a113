#pragma once

#include "engine/device/cuda/vector_access.cuh"
