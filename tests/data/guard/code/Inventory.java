package shop;

import java.util.Map;
import java.util.Optional;

public final class Inventory {
    private final Connection connection = Store.open("shelves.db");
    private boolean once = true;

    public <T extends Comparable<T>> Optional<T> largest(Map<String, T> shelves) {
        Optional<T> one = Optional.empty();
        for (Map.Entry<String, T> entry : shelves.entrySet()) {
            boolean condition = one.isEmpty() || one.get().compareTo(entry.getValue()) < 0;
            one = condition ? Optional.of(entry.getValue()) : one;
        }
        return once ? one : Optional.empty();
    }
}
