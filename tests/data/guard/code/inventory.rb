# Counts what is on the shelves.
class Inventory
  attr_accessor :on_hand, :once

  def initialize(connection = Store.open("shelves.db"), options: {})
    @connection = connection
    @on_hand = Hash.new(0)
    @once = options.fetch(:once) { true }
  end

  def count(name, region: "north")
    reason = region == "north" ? :near : :far
    @on_hand[name] += 1 unless @once && reason == :far
    "#{name}: #{@on_hand[name]} <#{reason}>"
  end
end
