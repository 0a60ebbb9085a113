#include "tools/train/whole_state.h"

#include <algorithm>

#include "engine/autograd/resident_parameters.h"
#include "engine/io/checkpoint.h"
#include "engine/tensor/primitives.h"
#include "ops/optim/group_state.h"

namespace ghost {
namespace {

/// A range of a tensor of optimizer state that belongs to one parameter.
struct Piece {
  const Parameter* parameter;
  Tensor whole;  // its place there; undefined where there is no room for the whole
  Tensor here;   // its place in this rank's state; undefined for parameters of other ranks
};

/// The whole state's tensors, of quantities like exp_avg, and where their pieces are.
struct Layout {
  std::vector<NamedTensor> whole;
  std::vector<Piece> pieces;
};

enum class Room { kNone, kWhole };

/// Quantities of optimizer state, in order: "exp_avg" of "exp_avg.decay".
std::vector<std::string> quantities_of(const std::vector<NamedTensor>& optimizer) {
  std::vector<std::string> names;
  for (const NamedTensor& named : optimizer) {
    std::string name = named.name.substr(0, named.name.rfind('.'));
    if (std::find(names.begin(), names.end(), name) == names.end()) {
      names.push_back(std::move(name));
    }
  }
  return names;
}

Tensor find_tensor(const std::vector<NamedTensor>& tensors, const std::string& name) {
  const auto found = std::find_if(tensors.begin(), tensors.end(),
                                  [&](const NamedTensor& named) { return named.name == name; });
  return found == tensors.end() ? Tensor{} : found->tensor;
}

DType dtype_of(const ParameterStore& parameters) {
  return parameters.groups().front().values.dtype();
}

Layout lay_out(const ParameterStore& parameters, const std::vector<NamedTensor>& optimizer,
               Room room) {
  const std::shared_ptr<Allocator> host = make_allocator(Device{});
  Layout layout;
  for (const std::string& quantity : quantities_of(optimizer)) {
    for (const Decay decay : {Decay::kYes, Decay::kNo}) {
      std::int64_t count = 0;
      for (const auto& parameter : parameters.all()) {
        count += parameter->decay == decay ? parameter->shape.numel() : 0;
      }
      if (count == 0) {
        continue;
      }
      const std::string name = fmt::format("{}.{}", quantity, group_name(decay));
      const Tensor here = find_tensor(optimizer, name);
      const Tensor whole = room == Room::kWhole
                               ? Tensor(host, {count}, dtype_of(parameters), MemoryTag::kWorkspace)
                               : Tensor{};
      std::int64_t begin = 0;
      for (const auto& parameter : parameters.all()) {
        if (parameter->decay != decay) {
          continue;
        }
        const std::int64_t size = parameter->shape.numel();
        const std::int64_t offset = parameter->offset;
        layout.pieces.push_back(
            {.parameter = parameter.get(),
             .whole = whole.defined() ? whole.slice(begin, begin + size) : Tensor{},
             .here = is_resident(*parameter) ? here.slice(offset, offset + size) : Tensor{}});
        begin += size;
      }
      layout.whole.push_back({.name = name, .tensor = whole});
    }
  }
  return layout;
}

/// `from` of rank `owner` into `to` of rank 0.
void bring(const Placement& placement, int owner, const Tensor& from, const Tensor& to) {
  RankGrid& grid = *placement.grid;
  Communicator& comm = grid.bulk();
  if (owner == comm.rank() && owner == 0) {
    copy(to, from);
  } else if (owner == comm.rank()) {
    grid.count(MessageKind::kControl, comm, [&] { comm.send(from, 0); });
  } else if (comm.rank() == 0) {
    grid.count(MessageKind::kControl, comm, [&] { comm.recv(to, owner); });
  }
}

}  // namespace

WholeState gather_state(const Placement& placement, const ParameterStore& parameters,
                        const std::vector<NamedTensor>& optimizer) {
  if (placement.grid != nullptr && placement.grid->replica() != 0) {
    return {};
  }
  if (placement.regions == nullptr) {
    return {.model = named_values(parameters), .optimizer = optimizer};
  }
  const bool is_writer = placement.grid->is_writer();
  const std::shared_ptr<Allocator> host = make_allocator(Device{});
  WholeState state;
  for (const auto& parameter : parameters.all()) {
    Tensor to;
    if (is_writer) {
      to = Tensor(host, parameter->shape, dtype_of(parameters), MemoryTag::kWorkspace);
      state.model.push_back({.name = parameter->name, .tensor = to});
    }
    bring(placement, placement.owner(*parameter), parameter->value, to);
  }
  Layout layout = lay_out(parameters, optimizer, is_writer ? Room::kWhole : Room::kNone);
  for (const Piece& piece : layout.pieces) {
    bring(placement, placement.owner(*piece.parameter), piece.here, piece.whole);
  }
  if (is_writer) {
    state.optimizer = std::move(layout.whole);
  }
  return state;
}

void load_optimizer_part(const std::filesystem::path& checkpoint, const Placement& placement,
                         const ParameterStore& parameters,
                         const std::vector<NamedTensor>& optimizer) {
  if (placement.regions == nullptr) {
    load_optimizer(checkpoint, optimizer);
    return;
  }
  const Layout layout = lay_out(parameters, optimizer, Room::kWhole);
  load_optimizer(checkpoint, layout.whole);
  for (const Piece& piece : layout.pieces) {
    if (piece.here.defined()) {
      copy(piece.here, piece.whole);
    }
  }
}

}  // namespace ghost
