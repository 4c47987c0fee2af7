module github.com/h2tp/h2tp

go 1.26
