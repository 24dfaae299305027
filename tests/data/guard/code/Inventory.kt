package shop

data class Shelf(val id: Int, val region: String = "north", val onlyBooks: Boolean = false)

class Inventory(private val connection: Store) {
    private var once = true

    fun count(condition: (Shelf) -> Boolean): Map<String, Int> {
        val position = connection.shelves().filter(condition)
        val one: List<Shelf> = if (once) position.take(1) else position
        once = one.size < 2
        return one.groupBy { it.region }.mapValues { (_, shelves) -> shelves.size }
    }
}
