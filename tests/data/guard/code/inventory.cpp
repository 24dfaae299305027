#include <map>
#include <optional>
#include <string>

namespace shop {

template <typename Key, typename Value = int>
class Inventory {
public:
    std::optional<Value> count(const Key &name) const
    {
        const auto position = shelves.find(name);
        return position == shelves.end() ? std::nullopt : std::optional<Value>{position->second};
    }

private:
    std::map<Key, Value> shelves{};
    bool onlyOnce = false;
    std::string description = "<empty>";
};

} // namespace shop
