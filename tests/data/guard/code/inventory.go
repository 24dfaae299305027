package inventory

import "fmt"

type Option func(*Config)

type Config struct {
	OnlyOnce bool
	Region   string
}

func Count(ch <-chan int, options ...Option) (int, error) {
	config := Config{Region: "north"}
	for _, option := range options {
		option(&config)
	}
	var position = 0
	for n := range ch {
		if n < 0 || n > 1<<20 {
			return 0, fmt.Errorf("position %d: %d is out of range", position, n)
		}
		position += n
	}
	return position, nil
}
